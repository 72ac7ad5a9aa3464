"""The class that runs each step."""

from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.jobs import Step
from bot.jobs.queue import Queue
from bot.jobs.steps.cancel import Cancel
from bot.jobs.steps.check import Check, CheckReferences
from bot.jobs.steps.collect import Collect
from bot.jobs.steps.confirm import Confirm, FindReply
from bot.jobs.steps.context import StepContext, StepRunner
from bot.jobs.steps.ending import Ending
from bot.jobs.steps.give_up import Expire, GiveUp
from bot.jobs.steps.observe import Observer
from bot.jobs.steps.poll import Poll
from bot.jobs.steps.submit import Find, Recover, Submit, SubmittedRuns
from bot.jobs.steps.watch import Watch


@dataclass(frozen=True, slots=True)
class Steps:
    runners: Mapping[Step, StepRunner]  # one for every member of `Step`
    poll: Poll  # for polls that read no row


def build(context: StepContext, *, queue: Queue, find_reply: FindReply, check_references: CheckReferences) -> Steps:
    runs, ending = SubmittedRuns(context), Ending(context)
    observer = Observer(context, ending)
    collect = Collect(context, observer, ending)
    poll = Poll(context, observer, collect)
    runners: Mapping[Step, StepRunner] = {
        Step.CONFIRM: Confirm(context, find_reply),
        Step.EXPIRE: Expire(context),
        Step.CHECK: Check(context, check_references),
        Step.SUBMIT: Submit(context, queue, runs),
        Step.RECOVER: Recover(runs),
        Step.FIND: Find(context, runs),
        Step.CANCEL: Cancel(context, poll),
        Step.POLL: poll,
        Step.COLLECT: collect,
        Step.GIVE_UP: GiveUp(context, ending),
        Step.WATCH: Watch(context, runs),
    }
    return Steps(runners, poll)
