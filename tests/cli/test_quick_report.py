"""What ``make quick-report`` reports together."""

from trustmm.cli.quick_report import together


def test_a_sweep_whose_name_continues_another_is_in_its_report() -> None:
    names = ["quick_controls", "quick_controls_lightgcn", "quick_fig3_lambda_tau", "quick_fig3_optuna"]
    assert together(names) == {
        "quick_controls": ["quick_controls", "quick_controls_lightgcn"],
        "quick_fig3_lambda_tau": ["quick_fig3_lambda_tau"],
        "quick_fig3_optuna": ["quick_fig3_optuna"],
    }
