"""DELETE /plans/{slug}: no one can buy it any more; whoever has it keeps it."""

from billing import plan_table
from billing.api import Request, endpoint
from billing.errors import NotFound


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    slug = request.path["slug"]
    pointer = plan_table.pointer(slug)
    if not pointer:
        raise NotFound(f"no plan {slug}")
    if not pointer["retired"]:
        plan_table.retire(slug, pointer)
    return {"slug": slug, "version": pointer["version"], "retired": True}
