"""What the usage table's stream sets going, deployed."""


def test_usage_that_comes_to_80_percent_is_told(stack, ada, call, eventually):
    service = stack.token("backend", "billing/service")

    def use(quantity, key):
        event = {"customer_id": ada.name, "metric_id": "api_calls", "quantity": quantity, "idempotency_key": key}
        assert call("POST", "/usage", service, {"events": [event]}).status == 200

    def told():
        return [alert["percent"] for alert in ada.ask("GET", "/usage?metric=api_calls").json["alerts"]]

    use(500, "half")
    eventually(told, [50])
    use(300, "most")
    eventually(told, [50, 80])
    before = ada.ask("GET", "/usage?metric=api_calls").json["alerts"]
    use(1, "more")
    use(199, "all")
    eventually(told, [50, 80, 100])
    assert ada.ask("GET", "/usage?metric=api_calls").json["alerts"][:2] == before
    assert all(alert["crossed_at"].endswith("Z") for alert in before)
