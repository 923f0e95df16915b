"""`scwm rank`: the protocol, scores, re-ranking and the model of the package."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import scwm
from scwm.core.errors import ScwmError
from scwm.core.files import read_csv
from scwm.evaluation import evaluate_ranking, mean_scores, query_scores, ranked_lists
from scwm.inference import pages
from scwm.inference.api import SHIPPED
from scwm.inference.features import CropFeatures
from scwm.inference.rank_lists import as_json, rank_crops, write_rank_lists


def test_crops_of_extreme_shape_are_shown(call, toy_folder, tmp_path):
    """Eight pixels wide and 5,000 high, and the other way round."""
    (tmp_path / "crops").mkdir()
    whole = Image.open(next((toy_folder / "query").iterdir()))
    for name, size in (("thin", (8, 5000)), ("flat", (5000, 8))):
        whole.resize(size).save(tmp_path / f"crops/{name}.png")
    assert call("rank {run} --queries {query} --gallery {tmp}/crops --out {tmp}/ranks") == 0
    assert "thin.png" in (tmp_path / "ranks/ranks.html").read_text()


def test_ranks_are_the_protocols(call, model, toy_folder, tmp_path):
    """Names of Market-1501's pattern: its protocol, by a plain sort, with right and wrong."""
    out = tmp_path / "ranks"
    assert call("rank {run} --queries {query} --gallery {gallery} --top 5 --out {tmp}/ranks") == 0
    queries, gallery = (
        sorted((toy_folder / name).iterdir()) for name in ("query", "bounding_box_test")
    )
    similarity = scwm.extract(model, queries) @ scwm.extract(model, gallery).T
    found = read_csv(out / "ranks.csv")
    assert len(found) == 5 * len(queries)
    listed = json.loads((out / "ranks.json").read_text())
    for number, query in enumerate(queries):
        own = query.name[:4], query.name[5:7]
        allowed = [i for i, f in enumerate(gallery) if (f.name[:4], f.name[5:7]) != own]
        best = sorted(allowed, key=lambda i: -similarity[number, i])[:5]
        mine = [row for row in found if row["query"] == str(query)]
        assert [row["file"] for row in mine] == [str(gallery[i]) for i in best]
        assert [row["rank"] for row in mine] == list("12345")
        right = [gallery[i].name[:4] == own[0] for i in best]
        assert [row["correct"] == "1" for row in mine] == right
        assert listed["queries"][number]["gallery"][0]["file"] == str(gallery[best[0]])
    labels = [
        np.array([[int(f.name[:4]), int(f.name[6])] for f in s]).T.copy()
        for s in (queries, gallery)
    ]
    expected = evaluate_ranking(
        *(scwm.extract(model, queries), *labels[0], scwm.extract(model, gallery), *labels[1])
    )
    assert listed["scores"]["mAP"] == pytest.approx(expected["mAP"], abs=1e-5)


def test_mere_names_have_no_right_and_wrong(tmp_path):
    """Then only the query's own file is left out; a short gallery gives a short list."""
    files = [tmp_path / f"{name}.jpg" for name in "abc"]
    features = np.eye(3, dtype=np.float32)
    features[1] = features[0]
    crops = CropFeatures(files, features, "global")
    lists = rank_crops(crops, crops, top=5)
    assert lists.correct is None and not lists.scores
    assert [[row[1] for row in lists.rows(q)] for q in range(3)] == [
        [files[1], files[2]],
        [files[0], files[2]],
        [files[0], files[1]],
    ]
    with pytest.raises(ScwmError, match="without identity and camera"):
        rank_crops(crops, crops, names="market")
    market = CropFeatures([tmp_path / f"000{i}_c{i}.jpg" for i in range(1, 4)], features, "global")
    assert rank_crops(market, market, names="none").correct is None
    assert rank_crops(market, market).correct is not None
    assert not rank_crops(market, market).scores, "no query has a match"
    names = ("-1_c1.jpg", "-1_c2.jpg", "0001_c3.jpg")
    junk = CropFeatures([tmp_path / name for name in names], features, "global")
    assert not rank_crops(junk, junk).scores, "junk matches nothing"


def test_queries_without_a_match_are_counted(tmp_path):
    names = ("0001_c1.jpg", "0002_c1.jpg", "0003_c1.jpg")
    query = CropFeatures([tmp_path / n for n in names], np.eye(3, dtype=np.float32), "global")
    gallery = CropFeatures([tmp_path / "0002_c2.jpg"], np.eye(3, dtype=np.float32)[:1], "global")
    lists = rank_crops(query, gallery, top=10**12)
    assert lists.scored == 1 and lists.index.shape == (3, 1) and lists.scores["mAP"] == 1
    assert as_json(lists)["queries_scored"] == 1
    short = rank_crops(query, gallery, min_similarity=0.5)
    assert short.scores == lists.scores
    assert short.rules[-1].endswith("nobody here for 2 of 3 queries. The scores count them.")


def test_one_odd_name_among_names_with_identities_is_told(tmp_path):
    files = [tmp_path / name for name in ("0001_c1.jpg", "0001_c2.jpg", "holiday.jpg")]
    crops = CropFeatures(files, np.eye(3, dtype=np.float32), "global")
    lists = rank_crops(crops, crops)
    assert lists.correct is None and not lists.scores
    assert lists.message.startswith("4 of 6 file names hold") and "holiday.jpg" in lists.message
    assert not rank_crops(crops, crops, names="none").message


def test_re_ranked_lists_say_so(call, model, toy_folder, tmp_path, capsys):
    """Order and scores are those of `rerank`; the similarities are still cosines."""
    words = "rank {run} --queries {query} --gallery {gallery} --top 5 --rerank --out {tmp}/ranks"
    assert call(words) == 0
    assert "Ordered by k-reciprocal re-ranking" in capsys.readouterr().out
    assert "Ordered by k-reciprocal re-ranking" in (tmp_path / "ranks/ranks.html").read_text()
    queries, gallery = (
        sorted((toy_folder / name).iterdir()) for name in ("query", "bounding_box_test")
    )
    features = [scwm.extract(model, files) for files in (queries, gallery)]
    labels = [
        np.array([[int(f.name[:4]), int(f.name[6])] for f in s]).T.copy()
        for s in (queries, gallery)
    ]
    arguments = features[0], *labels[0], features[1], *labels[1]
    index, score, _ = ranked_lists(*arguments, top=5, rerank=True)
    listed = json.loads((tmp_path / "ranks/ranks.json").read_text())
    assert "Ordered by k-reciprocal re-ranking" in listed["rules"]
    expected = mean_scores(query_scores(*arguments, rerank=True))
    assert listed["scores"] == pytest.approx(expected, abs=1e-5)
    found = read_csv(tmp_path / "ranks/ranks.csv")
    assert [row["file"] for row in found] == [str(gallery[i]) for i in index.ravel()]
    distance = [float(row["reranked_distance"]) for row in found]
    np.testing.assert_allclose(distance, -score.ravel(), atol=1e-4)
    cosine = (features[0] @ features[1].T)[np.arange(len(queries))[:, None], index].ravel()
    np.testing.assert_allclose([float(row["similarity"]) for row in found], cosine, atol=1e-5)
    in_json = [one for query in listed["queries"] for one in query["gallery"]]
    assert [one["reranked_distance"] for one in in_json] == distance


@pytest.mark.parametrize("rerank", [False, True])
def test_below_the_lowest_similarity_nobody_is_here(tmp_path, rerank, toy_folder):
    """Listed are the first T that reach it, with their ranks; scores count all."""
    image = next((toy_folder / "query").iterdir())
    paths = [tmp_path / f"{name}.jpg" for name in "abcdefgh"]
    for path in paths:
        shutil.copy(image, path)
    features = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    query, gallery = (
        CropFeatures(paths[s], features[s], "global") for s in (slice(3), slice(3, 8))
    )
    every = rank_crops(query, gallery, top=5, rerank=rerank)
    highest = sorted(max(row[2] for row in every.rows(q)) for q in range(3))
    lists = rank_crops(query, gallery, 2, "auto", rerank, (highest[0] + highest[1]) / 2)
    listed = [[*lists.rows(q)] for q in range(3)]
    for q in range(3):
        passing = [row for row in every.rows(q) if row[2] >= lists.min_similarity]
        assert listed[q] == passing[:2]
    assert sorted(map(bool, listed)) == [False, True, True]
    assert "nobody here for 1 of 3 queries" in lists.rules[-1]
    write_rank_lists(lists, tmp_path)
    found = read_csv(tmp_path / "ranks.csv")
    alone = [row["query"] for row in found if not row["rank"]]
    assert alone == [str(q) for q, own in zip(query.files, listed, strict=True) if not own]
    assert len(found) == sum(map(len, listed)) + 1
    empty = [q for q in as_json(lists)["queries"] if not q["gallery"]]
    assert [q["query"] for q in empty] == alone
    page = pages.rank_page(lists, "a", "m")
    assert page.count("Nobody here:") == 1 and "nobody here for 1 of 3 queries" in page


@pytest.mark.parametrize("text", ["60", "-1.1", "nan", "much"])
def test_a_lowest_similarity_that_is_no_cosine_is_refused(call, capsys, text):
    words = "rank {run} --queries {query} --gallery {gallery} --out {tmp}/r --min-similarity"
    with pytest.raises(SystemExit):
        call(f"{words}={text}")
    assert f"'{text}' is not a number from -1 to 1" in capsys.readouterr().err


# The model of the package


def test_crops_are_ranked_without_a_model_of_ones_own(call, toy_folder, tmp_path, capsys):
    assert call("rank --queries {query} --gallery {gallery} --out {tmp}/ranks") == 0
    scores = json.loads((tmp_path / "ranks/ranks.json").read_text())["scores"]
    shipped = scwm.load_model()
    assert scores["mAP"] > 0.5  # by chance, about a fourth
    assert shipped.config.method == "scwm" and shipped.config.dataset == "mannequins"
    assert SHIPPED.stat().st_size < 6e6 and "## Limits" in SHIPPED.with_suffix(".md").read_text()


@pytest.mark.parametrize("model", ["{run}/model.pt", "{run}", "other.safetensors"])
def test_a_model_among_the_crops_is_not_passed_over(call, capsys, model):
    """The model of the package would stand in for it."""
    assert call(f"rank --queries {{query}} --gallery {{gallery}} {model} --out {{tmp}}/r") == 1
    assert "A model is among the crops" in capsys.readouterr().err
