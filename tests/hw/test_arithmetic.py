"""What a chip takes beyond what is made here: read from a profile, or nothing where an older profile does not say."""

from __future__ import annotations

import json

from neurodeploy.hw.profile import Profile, target
from neurodeploy.resources import folder

LOIHI2 = target("loihi2")
WIDER = ("bias_exp_min", "bias_exp_max", "payload_bits", "weight_exp_min", "weight_exp_max", "weight_one_sign_max",
         "sigma_delta_exp_max", "v_readout_on_spike")


def test_loihi2_by_hand() -> None:
    arith = LOIHI2.arithmetic
    assert arith.bias_exps == (0, 7) and arith.bias_max == 4095 and arith.v_th_max == 131071 and arith.decay_one == 4096
    assert (arith.weight_exp_min, arith.weight_exp_max, arith.weight_one_sign_max) == (-8, 7, 255)
    assert arith.payload_max == 2**24 - 1 and arith.sigma_delta_exp_max == 7
    shown = arith.v_readout_on_spike
    assert shown is not None and shown.count == 2 << arith.state_shift
    assert shown.status == "published" and "trace" in shown.source


def test_a_profile_that_does_not_say_more_takes_no_more() -> None:
    content = LOIHI2.model_dump(mode="json")
    for name in WIDER:
        del content["arithmetic"][name]
    older = Profile.model_validate(content)
    arith = older.arithmetic
    assert arith.bias_exps == (6, 6) and arith.payload_max == 255 and (arith.weight_exp_min, arith.weight_exp_max) == (0, 0)
    assert arith.weight_one_sign_max is arith.sigma_delta_exp_max is arith.v_readout_on_spike is None
    assert older.digest != LOIHI2.digest


def test_profiles_inside_bundles_of_before_keep_their_digest() -> None:
    stored = json.loads((folder("exports") / "digits-loihi2" / "manifest.json").read_text())["profile"]
    assert not set(WIDER) & set(stored["content"]["arithmetic"])
    assert Profile.model_validate(stored["content"]).digest == stored["digest"]
