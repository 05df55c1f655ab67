"""KeyValue: event sourced, because the SDK has no value entities."""

import time

from cloudstate.entity_pb2 import Forward, SideEffect
from cloudstate.evensourced_servicer import pack
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from google.protobuf.empty_pb2 import Empty

import key_value_pb2 as pb

key_value = EventSourcedEntity(
    pb.DESCRIPTOR.services_by_name["KeyValue"],
    [pb.DESCRIPTOR],
    init_state=lambda entity_id: pb.ValueState(),
    persistence_id="key-value",
)


def reply(state):
    return pb.Value(value=state.value, found=state.found)


@key_value.command_handler("Set")
def set_value(command: pb.SetRequest, context: EventSourcedCommandContext):
    context.emit(pb.ValueSet(value=command.value))
    return Empty()


@key_value.command_handler("Get")
def get_value(state: pb.ValueState):
    return reply(state)


@key_value.command_handler("Delete")
def delete(command: pb.KeyRequest, context: EventSourcedCommandContext):
    context.emit(pb.ValueDeleted())
    return Empty()


@key_value.command_handler("Fail")
def fail(command: pb.KeyFailRequest, context: EventSourcedCommandContext):
    context.fail(command.description)


@key_value.command_handler("SetThenFail")
def set_then_fail(command: pb.SetRequest, context: EventSourcedCommandContext):
    set_value(command, context)
    context.fail("failed after the update")


@key_value.command_handler("Crash")
def crash(command: pb.KeyRequest):
    raise RuntimeError("value crashed")


@key_value.command_handler("SetAndCopy")
def set_and_copy(command: pb.SetRequest, context: EventSourcedCommandContext):
    for suffix, synchronous in (("sync", True), ("async", False)):
        copy = pb.SetRequest(key=f"{command.key}.{suffix}", value=command.value)
        context.effects.append(
            SideEffect(service_name="peers.KeyValue", command_name="Set", payload=pack(copy), synchronous=synchronous)
        )
    return set_value(command, context)


@key_value.command_handler("GetOther")
def get_other(command: pb.KeyPairRequest, context: EventSourcedCommandContext):
    request = pb.KeyRequest(key=command.other)
    context.forward = Forward(service_name="peers.KeyValue", command_name="Get", payload=pack(request))


@key_value.command_handler("Slow")
def slow(state: pb.ValueState, command: pb.KeySlowRequest):
    time.sleep(command.millis / 1000)
    return reply(state)


@key_value.event_handler(pb.ValueSet)
def value_set(event: pb.ValueSet):
    return pb.ValueState(value=event.value, found=True)


@key_value.event_handler(pb.ValueDeleted)
def value_deleted(event: pb.ValueDeleted):
    return pb.ValueState()
