"""The routes of the HTTP API, made a second time: AWS reads them from the OpenAPI body that SAM writes into the stack,
MiniStack does not. So we read it from the deployed stack and say the same through API Gateway's own API."""

import json
import re

from local.ministack import MiniStack

ANY = "x-amazon-apigateway-any-method"


def make_routes(aws: MiniStack, stack_name: str) -> str:
    """Routes, integrations, JWT authorizers and CORS of the stack's one HTTP API, whose id is answered."""
    template, known = _deployed(aws, stack_name)
    [(name, api)] = [each for each in template["Resources"].items() if each[1]["Type"] == "AWS::ApiGatewayV2::Api"]
    body = _resolved(api["Properties"]["Body"], known)
    gateway, id = aws.client("apigatewayv2"), known[name]

    if cors := body.get("x-amazon-apigateway-cors"):
        gateway.update_api(ApiId=id, CorsConfiguration={key[0].upper() + key[1:]: cors[key] for key in cors})
    schemes = body.get("components", {}).get("securitySchemes", {})
    authorizers = {name: _authorizer(gateway, id, name, scheme) for name, scheme in schemes.items()}
    integrations: dict[str, str] = {}  # by function: one with many routes has one integration
    for path, operations in body["paths"].items():
        for method, operation in operations.items():
            target = operation.get("x-amazon-apigateway-integration")
            if target is None:
                continue  # SAM's own answer to OPTIONS
            if target["uri"] not in integrations:
                integrations[target["uri"]] = gateway.create_integration(
                    ApiId=id,
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=target["uri"],
                    IntegrationMethod="POST",
                    PayloadFormatVersion=target["payloadFormatVersion"],
                )["IntegrationId"]
            gateway.create_route(
                ApiId=id,
                RouteKey=f"{'ANY' if method == ANY else method.upper()} {path}",
                Target=f"integrations/{integrations[target['uri']]}",
                **_authorization(operation.get("security", []), authorizers),
            )
    return id


def _authorizer(gateway, api: str, name: str, scheme: dict) -> str:
    said = scheme["x-amazon-apigateway-authorizer"]
    return gateway.create_authorizer(
        ApiId=api,
        Name=name,
        AuthorizerType="JWT",
        IdentitySource=[said["identitySource"]],
        JwtConfiguration={
            "Issuer": said["jwtConfiguration"]["issuer"],
            "Audience": said["jwtConfiguration"]["audience"],
        },
    )["AuthorizerId"]


def _authorization(security: list[dict], authorizers: dict[str, str]) -> dict:
    for name, scopes in ((name, scopes) for each in security for name, scopes in each.items() if name != "NONE"):
        required = {"AuthorizationScopes": scopes} if scopes else {}
        return {"AuthorizationType": "JWT", "AuthorizerId": authorizers[name], **required}
    return {}


def _deployed(aws: MiniStack, stack_name: str) -> tuple[dict, dict]:
    """The template as deployed, and what its references stand for."""
    cloudformation = aws.client("cloudformation")
    body = cloudformation.get_template(StackName=stack_name, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(body) if isinstance(body, str) else body
    [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    account = stack["StackId"].split(":")[4]
    known = {
        "AWS::StackName": stack_name,
        "AWS::Region": aws.region,
        "AWS::AccountId": account,
        "AWS::Partition": "aws",
    }
    for parameter in stack["Parameters"]:
        name, value = parameter["ParameterKey"], parameter["ParameterValue"]
        listed = template["Parameters"][name]["Type"] == "CommaDelimitedList"
        known[name] = [each for each in value.split(",") if each] if listed else value
    for resource in cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]:
        name, id = resource["LogicalResourceId"], resource["PhysicalResourceId"]
        known[name] = id
        if resource["ResourceType"] == "AWS::Lambda::Function":
            known[f"{name}.Arn"] = f"arn:aws:lambda:{aws.region}:{account}:function:{id}"
    return template, known


def _resolved(node, known: dict):
    """CloudFormation's functions, as far as SAM and our template use them in that body; another is a KeyError."""
    match node:
        case {"Ref": name}:
            return known[name]
        case {"Fn::GetAtt": [name, attribute]}:
            return known[f"{name}.{attribute}"]
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda reference: known[reference[1]], text)
        case dict():
            if function := next((name for name in node if name.startswith("Fn::")), None):
                raise KeyError(f"{function} in the HTTP API's body: teach local/routes.py to resolve it")
            return {name: _resolved(value, known) for name, value in node.items()}
        case list():
            return [_resolved(each, known) for each in node]
    return node
