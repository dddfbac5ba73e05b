"""The dense product against its plain twin."""

import pytest
import torch
from torch.testing import assert_close

from trustmm.graph.dense import all_inner_products


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 5), (256, 129, 64)])
def test_all_inner_products_equal_the_plain_product(shape: tuple[int, int, int]) -> None:
    users, items, width = shape
    drawn = torch.Generator().manual_seed(0)
    left, right = (torch.randn(count, width, generator=drawn) for count in (users, items))
    found = all_inner_products(left, right)
    assert found.dtype == torch.float32
    assert_close(found, left @ right.T, rtol=1e-5, atol=1e-5)


def test_other_types_keep_their_precision() -> None:
    left, right = torch.rand(3, 4, dtype=torch.float64), torch.rand(5, 4, dtype=torch.float64)
    assert_close(all_inner_products(left, right), left @ right.T, rtol=0, atol=0)
