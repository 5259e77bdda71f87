from tests.adoption.conftest import account, old, past, run, send  # noqa: F401
from tests.catalogue.conftest import asked, told, tollgate, waited  # noqa: F401
from tests.functions.conftest import drain, hear, process, reconciled, schedules, swept  # noqa: F401
