"""The conformance kit's model services on the Akka Serverless Python SDK, which has no replicated entities."""

import logging
import time
from typing import Iterator

from akkaserverless.action_context import ActionContext
from akkaserverless.action_protocol_entity import Action
from akkaserverless.akkaserverless.component.component_pb2 import Forward, SideEffect
from akkaserverless.akkaserverless_service import AkkaServerlessService
from akkaserverless.event_sourced_context import EventSourcedCommandContext
from akkaserverless.event_sourced_entity import EventSourcedEntity
from akkaserverless.utils.payload_utils import pack
from akkaserverless.value_context import ValueEntityCommandContext
from akkaserverless.value_entity import ValueEntity

# The SDK sends them with the contract, and loads them nowhere.
import google.api.annotations_pb2
import google.protobuf.empty_pb2
from firn.tck.akkaserverless.v1 import model_pb2 as pb
from steps import Failed, Replies, Work

# Each open stream holds a thread.
WORKERS = 64

SERVICES = pb.DESCRIPTOR.services_by_name
replies = Replies(pb, Forward, SideEffect, pack)

action = Action(SERVICES["ActionModel"], [pb.DESCRIPTOR])


@action.unary_handler("Unary")
def unary(command: pb.Request, context: ActionContext):
    return replies.answer(context, lambda: replies.reply(Work().do(command.steps), context))


@action.stream_in_handler("Collect")
def collect(commands: Iterator, context: ActionContext):
    def handler():
        work = Work()
        for command in commands:
            work.do(command.steps)
        return replies.reply(work, context)

    return replies.answer(context, handler)


@action.stream_out_handler("Spread")
def spread(command: pb.Request, context: ActionContext):
    yield from talk([command], context)


@action.stream_handler("Converse")
def converse(commands: Iterator, context: ActionContext):
    yield from talk(commands, context)


def talk(commands, context):
    """The replies of each `send`. Effects after the last one are lost: the SDK has no response without reply."""
    work = Work()
    sent = 0
    try:
        for step in (step for command in commands for step in command.steps):
            if step.WhichOneof("step") != "send":
                work.do([step])
                continue
            for _ in range(step.send.times):
                time.sleep(step.send.pause_ms / 1000)
                sent += 1
                replies.effects(work, context)
                yield pb.Reply(text=step.send.text, count=sent)
                # The SDK would add them to the next reply too.
                context.effects.clear()
    except Failed as failure:
        context.fail(str(failure))
        # The SDK sends the failure in place of a reply.
        yield pb.Reply()


def value(service, entity_type):
    model = ValueEntity(SERVICES[service], [pb.DESCRIPTOR], entity_type, init_state=lambda entity_id: pb.State())

    @model.command_handler("Process")
    def process(state: pb.State, command: pb.Request, context: ValueEntityCommandContext):
        def handler():
            work = Work(state.text, state.count).do(command.steps)
            # The SDK cannot delete.
            if work.changed or work.deleted:
                context.update_state(pb.State(text=work.text, count=work.count))
            return replies.reply(work, context)

        return replies.answer(context, handler)

    return model


events = EventSourcedEntity(
    SERVICES["EventSourcedModel"],
    [pb.DESCRIPTOR],
    entity_type="tck-events",
    init_state=lambda entity_id: pb.State(),
    snapshot_every=5,
)


@events.command_handler("Process")
def process(state: pb.State, command: pb.Request, context: EventSourcedCommandContext):
    def handler():
        work = Work(state.text, state.count).do(command.steps)
        for text in work.appended:
            context.emit(pb.Appended(text=text))
        return replies.reply(work, context)

    return replies.answer(context, handler)


# The SDK drops what the handlers of own events return, so it changes the state in place.
@events.event_handler(pb.Appended)
def appended(state: pb.State, event: pb.Appended):
    state.text += event.text
    state.count += 1
    return state


@events.snapshot()
def snapshot(state: pb.State):
    return state


# Never reached: the SDK breaks the stream of an entity that is initialised with a snapshot.
@events.snapshot_handler()
def load_snapshot(event: pb.State):
    return event


if __name__ == "__main__":
    logging.root.setLevel(logging.INFO)
    service = AkkaServerlessService().max_workers(WORKERS)
    for component in (action, value("ValueModel", "tck-value"), value("ValueModelTwo", "tck-two"), events):
        service.add_component(component)
    service.start()
