"""The least that a function can be."""


def handler(event: dict, context) -> dict:
    return {"statusCode": 200}
