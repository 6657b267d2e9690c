"""From the team section to a team that plays; a topology and a tool of the user's own by dotted path."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import drive

from apportion.pipeline.core.config import AgentConfig, TeamConfig, ToolConfig, load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.play.team import load_team, load_topology
from apportion.pipeline.trajectory.task import make_task

BOSS = AgentConfig(name="boss", role="planner")
OWN = """
class Echo:
    name, answerer = "echo", "player"

    def play(self, talk):
        agent = talk.by_role("speaker")[0].name
        (message,) = yield [talk.turn(agent, [talk.question])]
        talk.answer(message, message.text)


class Shout:
    name = "shout"

    def __init__(self, mark):
        self.mark = mark

    def run(self, text):
        from apportion.pipeline.tools.base import ToolResult

        return ToolResult(text.upper() + self.mark, True)
"""


def refusal(config: TeamConfig) -> str:
    with pytest.raises(UserError) as caught:
        load_team(config)
    return str(caught.value)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of the user's own."""
    (tmp_path / "my_own_team.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_own_team"


def test_a_topology_of_ones_own_plays_by_its_dotted_path(own: str):
    speaker = AgentConfig(name="amy", role="speaker", system="Speak.")
    team, _ = load_team(TeamConfig(topology=f"{own}.Echo", agents=[speaker]))
    assert (team.name, team.topology.answerer) == ("echo", "player")
    talk = team.talk(make_task("Who?", ["me"], source="toy", split="all"))
    drive(team.topology, talk, lambda turn: "me")
    assert talk.final_answer == "me"


def test_a_tool_of_ones_own_gets_its_options(own: str):
    tools = {"shout": ToolConfig(kind=f"{own}:Shout", options={"mark": "!"})}
    team, alone = load_team(TeamConfig(agents=[BOSS], tools=tools))
    assert team.tools["shout"].run("hey").text == "HEY!"
    assert alone.tools is team.tools


def test_team_keeps_agents_examples_tools_and_turns():
    agents = [BOSS, AgentConfig(name="w", role="worker", examples=[("q", "a")], tools={"calc": "sums"})]
    team, alone = load_team(
        TeamConfig(name="duo", max_turns=2, agents=agents, tools={"sums": ToolConfig(kind="calculator")})
    )
    assert (team.name, team.max_turns, alone.name, alone.max_turns) == ("duo", 2, "solo", 2)
    assert team.agents[1].examples == (("q", "a"),)
    assert team.agents[1].tools == {"calc": "sums"}
    assert (alone.agents[0].system, alone.agents[0].tools) == ("", {})


def test_the_baseline_has_the_instructions_of_its_section():
    solo = AgentConfig(name="lone", role="solo", system="Alone.")
    _, alone = load_team(TeamConfig(agents=[BOSS], solo=solo))
    assert [(agent.name, agent.system) for agent in alone.agents] == [("lone", "Alone.")]


def test_search_tool_reads_all_its_documents(tmp_path: Path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_text("Nell lives in Farrow\n")
    files[1].write_text("Tom lives in Greyport\n")
    config = ToolConfig(kind="search", documents=[str(file) for file in files])
    team, _ = load_team(TeamConfig(agents=[BOSS], tools={"find": config}))
    assert team.tools["find"].run("Nell").text == "Nell lives in Farrow"
    assert team.tools["find"].run("Tom").text == "Tom lives in Greyport"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (TeamConfig(), "team.agents is empty"),
        (TeamConfig(agents=[BOSS, BOSS]), "'boss' is named twice"),
        (TeamConfig(agents=[AgentConfig(name="w", role="worker")]), "exactly one agent with role = 'planner'"),
        (
            TeamConfig(agents=[AgentConfig(name="a", role="planner", tools={"find": "search"})]),
            "'a' uses tool 'search' as 'find'; known: none",
        ),
        (TeamConfig(agents=[BOSS], topology="no_such_place.Ring"), "no module named 'no_such_place'"),
        (
            TeamConfig(agents=[BOSS], tools={"find": ToolConfig(kind="search")}),
            "team.tools.find: tool search: 'documents' is missing",
        ),
    ],
)
def test_faulty_team_is_refused_with_the_key(config: TeamConfig, problem: str):
    assert problem in refusal(config)


def test_a_topology_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="team.topology = 'votin': no such topology; .*did you mean 'voting'"):
        load_config(overrides=("team.topology=votin",))


def test_missing_class_in_the_users_module_names_the_nearest(own: str):
    with pytest.raises(UserError, match="has no 'Ecco'; did you mean 'Echo'?"):
        load_topology(TeamConfig(topology=f"{own}.Ecco"))
