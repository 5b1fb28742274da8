import pytest
from support.beams import graph_of

from rivulet.decoding import beam


@pytest.fixture(params=["native", "flashlight"])
def both_searches(request, monkeypatch):
    """Every test holds for both searches."""
    if request.param == "native":
        pytest.importorskip("rivulet.decoding._beam", reason="no compiler built the search")
    monkeypatch.setattr(beam, "has_native", lambda: request.param == "native")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return graph_of(tmp_path_factory.mktemp("lm"))
