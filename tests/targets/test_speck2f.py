from event_suite import EventConformance


class TestSpeck2f(EventConformance):
    target = "speck2f"
