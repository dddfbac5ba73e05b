"""What the run of a job shows: few numbers, the learning curve first, options without the names of classes."""

from trustmm.options.compose import compose_job
from trustmm.run.publish import epoch_metrics, flat_params, headline
from trustmm.training.course import Epoch

SUMMARY = {
    "test": {"recall@10": 0.1, "ndcg@10": 0.05, "recall@20": 0.2, "ndcg@20": 0.08, "map@50": 0.01},
    "valid": {"recall@10": 0.11, "ndcg@10": 0.06, "hit@5": 0.3},
    "test_by_mask": {"clean": {"recall@10": 0.1}},
    "diagnostics": {
        "visual/eta_hat": 0.2,
        "visual/hub_max": 3.0,
        "visual/touched/rectified_to_clean": None,
        "visual/untouched/rectified_to_clean": 0.9,
        "edit/alignment": 0.7,
    },
    "best_epoch": 4,
    "seconds": 1.5,
}


def test_a_job_shows_its_headline_and_a_summary_of_repair_and_edit() -> None:
    assert headline(SUMMARY) == {
        "test/recall@10": 0.1,
        "test/ndcg@10": 0.05,
        "test/recall@20": 0.2,
        "test/ndcg@20": 0.08,
        "valid/recall@10": 0.11,
        "valid/ndcg@10": 0.06,
        "visual/eta_hat": 0.2,
        "visual/untouched/rectified_to_clean": 0.9,
        "edit/alignment": 0.7,
        "job/best epoch": 4,
        "job/seconds": 1.5,
    }


def test_the_learning_curve_comes_first_by_the_alphabet() -> None:
    epoch = Epoch(0, {"bpr": 0.6}, {"recall@10": 0.1, "ndcg@10": 0.05, "map@10": 0.02}, True, 1.0, 0.5)
    curve = epoch_metrics("backbone", epoch)
    assert curve == {"curve/valid recall@10": 0.1, "curve/valid ndcg@10": 0.05, "curve/loss bpr": 0.6}
    assert list(epoch_metrics("prior", epoch)) == [name.replace("curve/", "curve_prior/") for name in curve]
    assert all(name > max(curve) for name in headline(SUMMARY))


def test_params_name_a_class_by_its_group_and_no_place() -> None:
    found = flat_params(compose_job(["rectifier=mr", "backbone=bpr"])[0])
    assert (found["rectifier"], found["training.optimizer"]) == ("ModalityRectifier", "Adam")
    assert (found["rectifier.lam"], found["seed"]) == (0.5, 0)
    assert not [name for name in found if "_target_" in name or "_partial_" in name or name.startswith("tracking")]
