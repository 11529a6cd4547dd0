from suite import Conformance


class TestLoihi2(Conformance):
    target = "loihi2"
