"""Everything neurodeploy can refuse, and the exit code each refusal has on the command line.

NeurodeployError                 1  internal, or a subclass that knows better
├── UsageError                   2  wrong argument, recipe, path or dataset
├── DoesNotFit                   3  the network breaks limits of the target (carries every violation)
├── Mismatch                     4  golden vectors, vendor tool or accuracy disagree
├── EnvironmentMissing           5  a vendor side environment is absent
│   └── Unreachable              5  a database or cluster went away in the middle; the remedy is the command that goes on
├── UnsafeFile                   6  unsafe, corrupt, tampered or unsupported file
├── VendorFailure                7  a vendor tool crashed or timed out
└── Interrupted                130  stopped by the user; the remedy is the command that resumes

NeurodeployWarning is no error: it is raised by nothing, `warnings.warn` hands it on.

An error says where, what, how much and what to do next; `str(error)` is those four in one paragraph and
`error.to_dict()` is the object that `--json` prints.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar


def _sentences(*parts: str) -> str:
    return " ".join(p if p.endswith(("?", "!")) else p.rstrip(".") + "." for p in parts if p)


class NeurodeployError(Exception):
    """Base of every error that neurodeploy raises on purpose."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal"

    def __init__(self, what: str, *, where: str = "", limit: str = "", remedy: str = "", code: str | None = None) -> None:
        self.what, self.where, self.limit, self.remedy = what, where, limit, remedy
        self.error_code = code or type(self).code
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return _sentences(head, self.limit, self.remedy)

    def to_dict(self) -> dict[str, str]:
        """The error as the contract's JSON object: code, where, what, limit, remedy."""
        return {
            "code": self.error_code,
            "where": self.where,
            "what": self.what,
            "limit": self.limit,
            "remedy": self.remedy,
        }


class UsageError(NeurodeployError):
    exit_code = 2
    code = "usage"


@dataclass(frozen=True)
class Violation:
    """One broken limit of a target: where in the network, what it needs, what the target offers, the way out."""

    rule: str
    where: str
    what: str
    limit: str
    remedy: str

    def __str__(self) -> str:
        return _sentences(f"{self.where}: {self.what}", self.limit, self.remedy)

    def to_dict(self) -> dict[str, str]:
        """Plain fields, for JSON."""
        return asdict(self)


class DoesNotFit(NeurodeployError):
    """The network breaks limits of the target; `violations` holds all of them, not only the first."""

    exit_code = 3
    code = "does_not_fit"

    def __init__(self, violations: tuple[Violation, ...], *, target: str) -> None:
        self.violations = violations
        n = len(violations)
        super().__init__(
            f"the network breaks {n} limit{'s' if n != 1 else ''} of {target}: " + " | ".join(str(v) for v in violations),
            where=target,
        )

    def __str__(self) -> str:
        return self.what


class Mismatch(NeurodeployError):
    exit_code = 4
    code = "mismatch"


class EnvironmentMissing(NeurodeployError):
    exit_code = 5
    code = "environment_missing"


class Unreachable(EnvironmentMissing):
    code = "unreachable"


class UnsafeFile(NeurodeployError):
    exit_code = 6
    code = "unsafe_file"


class VendorFailure(NeurodeployError):
    exit_code = 7
    code = "vendor_failure"


class Interrupted(NeurodeployError):
    exit_code = 130
    code = "interrupted"


class NeurodeployWarning(UserWarning):
    """Something that stops nothing and that the user should know; `code` names it for scripts (`uncalibrated`).

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.warn(NeurodeployWarning("no calibration images", code="uncalibrated", where="conv1"), stacklevel=1)
    >>> caught[0].message.to_dict()["code"]
    'uncalibrated'
    """

    def __init__(self, what: str, *, code: str, where: str = "", remedy: str = "") -> None:
        self.what, self.code, self.where, self.remedy = what, code, where, remedy
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return _sentences(head, self.remedy)

    def to_dict(self) -> dict[str, str]:
        """The warning as the contract's JSON object: code, where, what, remedy."""
        return {"code": self.code, "where": self.where, "what": self.what, "remedy": self.remedy}
