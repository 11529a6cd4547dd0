from event_suite import EventConformance


class TestSpeck2e(EventConformance):
    target = "speck2e"
