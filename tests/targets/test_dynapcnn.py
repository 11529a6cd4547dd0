from event_suite import EventConformance


class TestDynapcnn(EventConformance):
    target = "dynapcnn"
