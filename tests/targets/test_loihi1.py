from suite import Conformance


class TestLoihi1(Conformance):
    target = "loihi1"
