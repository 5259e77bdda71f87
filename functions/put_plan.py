"""PUT /plans/{slug}: sell something else under this name from now on; whoever bought before keeps what they bought."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from billing import gateway, plan_table
from billing.api import Request, endpoint
from billing.plans import Metric as CountedMetric
from billing.plans import Plan
