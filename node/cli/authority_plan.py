"""`truc authority reorganise`: a table of changes, checked as a whole, signed in batches.

Obeys DESIGN §7. What is done is `node/authority_plan.py`; here mistakes are told line by line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.authority_desk import FILE, Desk, now, read, run, write
from node.cli.grammar import ExitCode

if TYPE_CHECKING:
    from node.authority_plan import Drafted, PlanFault


@click.command()
@click.argument("file", type=FILE)
@click.option("--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan.")
@click.option("--urgent", is_flag=True, help="The root's keys here sign as well. · Khóa gốc ở đây cùng ký.")
@click.option("--check", "only_check", is_flag=True, help="Sign nothing, list mistakes. · Chỉ kiểm tra, không ký.")
@click.option(
    "--keep-valid", is_flag=True, help="Sign valid lines, list the rest. · Ký dòng hợp lệ, liệt kê phần còn lại."
)
@click.option("--rest", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the lines that were left out here. · Ghi các dòng bị bỏ ra tệp này.")  # fmt: skip
@click.pass_obj
def reorganise(
    desk: Desk, /, file: Path, registrar: str, urgent: bool, only_check: bool, keep_valid: bool, rest: Path | None
) -> None:
    """Carry out a CSV plan in one act. · Thực hiện một kế hoạch CSV trong một lần ký.

    Columns: code,state,name,name_en,host,parent,kind,aliases,successors,decision
    """

    def work() -> None:
        from node.authority_plan import apply_plan, plan_text, read_plan, with_lines

        text = plan_text(read(file))
        plan = read_plan(text)
        opened = desk.open()
        act = opened.act(now(), registrar=registrar)
        drafted = apply_plan(act, plan, opened.issued.agency)
        faults = [_row(fault) for fault in drafted.faults]
        _say(desk, drafted.faults)
        if rest is not None:
            write(rest, with_lines(text, [fault.line for fault in drafted.faults]).encode())
        told = {"faults": faults, "same": drafted.same}
        if only_check or (faults and not keep_valid):
            desk.say("plan checked", changes=len(act), same=drafted.same, faults=len(faults))
            desk.show({**_in_all(drafted), **told, "changes": len(act)})
        else:
            desk.finish(opened, opened.complete(act, urgent=urgent) if len(act) else [], "signed", **told)
        if faults:
            raise click.exceptions.Exit(ExitCode.REFUSED)

    run(desk, work)


def _in_all(drafted: Drafted) -> dict[str, Any]:
    """The outcome with a code, if there is a mistake."""
    from node.authority_plan import check_plan
    from node.cli.desk import problem_of
    from protocol.errors import ConfigurationError

    try:
        check_plan(drafted)
    except ConfigurationError as error:
        return problem_of(error)
    return {}


def _row(fault: PlanFault) -> dict[str, Any]:
    from node.cli.desk import problem_of

    return {"line": fault.line, "about": fault.code, **problem_of(fault.error)}


def _say(desk: Desk, faults: tuple[PlanFault, ...]) -> None:
    from protocol.catalogue import text

    for fault in faults:
        said = text(fault.error, desk.language)
        desk.say("plan fault", line=fault.line, about=fault.code, code=fault.error.code, text=said)


COMMANDS: Final = (reorganise,)
