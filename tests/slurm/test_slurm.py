"""The job script on a real Slurm: it trains to the end, and goes on after it was put back into the queue."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from graspfleet.common.runtime.run_directory import RunDirectory
from tests.deploy.walkthrough import ROOT, blocks, installed, run
from tests.end_to_end.harness import until
from tests.slurm.cluster import CPUS_PER_NODE, NODES, Cluster, why_not

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]
ACTORS = NODES * CPUS_PER_NODE - 2
"""One task is the learner's and one the evaluator's."""
SUBMIT, LOOK, REQUEUE = blocks("Slurm")
TIME_LIMIT = "scancel --batch --signal=USR1 $JOB"
"""What Slurm sends the script a minute before its time is up."""


class Site:
    """A user's folder on the shared file system, with the project in it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.environment = {**installed(folder), **cluster.environment}
        shutil.copytree(ROOT / "deploy" / "slurm", folder / "deploy" / "slurm")

    def settle(self, env_steps: int) -> None:
        text = (ROOT / "tests" / "deploy" / "tiny.yaml").read_text()
        assert "100000000" in text
        (self.folder / "deploy" / "settings.yaml").write_text(text.replace("100000000", str(env_steps)))

    def submit(self) -> str:
        """Submit as the page says, with as many tasks as the test's nodes have; return the job."""
        block = SUBMIT.replace("sbatch ", f"sbatch --ntasks-per-node={CPUS_PER_NODE} ")
        return run(block, self.folder, self.environment).split()[-1]

    def rows(self, job: str) -> list[dict[str, float]]:
        metrics = RunDirectory(self.folder / "runs" / f"slurm-{job}").metrics
        return [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []

    def output(self, job: str) -> str:
        return (self.folder / f"slurm-{job}.out").read_text()

    def env_steps(self, job: str) -> float:
        return self.rows(job)[-1]["env_steps"] if self.rows(job) else 0

    def state(self, job: str) -> str:
        shown = self.cluster("scontrol", "show", "job", job)
        return shown.split("JobState=")[1].split()[0]

    def assert_completed(self, job: str) -> None:
        until(lambda: self.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), "the job ends", 180)
        assert self.state(job) == "COMPLETED", self.output(job)
        last = self.rows(job)[-1]
        assert last["produced"] == last["inserted"] + last["rejected"]
        assert last["rejected"] == last["lost"] == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Site]:
    yield Site(tmp_path, cluster)
    cluster("scancel", "--me")


def test_a_job_trains_on_both_nodes_to_the_end(site: Site) -> None:
    site.settle(200_000)
    job = site.submit()
    until(lambda: (rows := site.rows(job)) and rows[-1]["actors_alive"] == ACTORS, "all actors are there")
    looked = run(LOOK, site.folder, {**site.environment, "JOB": job})
    assert len(re.findall(r"^actor .* alive$", looked, re.MULTILINE)) == ACTORS
    site.assert_completed(job)
    assert site.env_steps(job) >= 200_000


@pytest.mark.parametrize("how", [REQUEUE, TIME_LIMIT], ids=["by hand", "at its time limit"])
def test_a_job_that_goes_back_to_the_queue_half_way_resumes_its_run(site: Site, how: str) -> None:
    site.settle(250_000)
    job = site.submit()
    until(lambda: site.env_steps(job) > 50_000, "some of the training is done")
    run(how, site.folder, {**site.environment, "JOB": job})
    until(lambda: site.state(job) == "PENDING", "it is back in the queue")
    before = site.rows(job)[-1]
    assert before["env_steps"] < 250_000
    run(f"scontrol update JobId={job} StartTime=now", site.folder, site.environment)
    site.assert_completed(job)
    steps = [row["env_steps"] for row in site.rows(job)]
    assert steps == sorted(steps), "it began anew"
    print(f"requeued at {before['env_steps']:,.0f} env steps, done at {steps[-1]:,.0f}")
