from collections.abc import Iterator

import pytest
import torch

pytest.register_assert_rewrite("tests.backbone.oracle")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """These problems are tiny; threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
