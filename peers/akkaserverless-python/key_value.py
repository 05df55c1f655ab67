"""KeyValue: a value entity. The SDK ignores the stored state, and sends an update with every reply."""

import time

from akkaserverless.akkaserverless.component.component_pb2 import Forward, SideEffect
from akkaserverless.utils.payload_utils import pack
from akkaserverless.value_context import ValueEntityCommandContext
from akkaserverless.value_entity import ValueEntity
from google.protobuf.empty_pb2 import Empty

import key_value_pb2 as pb

key_value = ValueEntity(
    pb.DESCRIPTOR.services_by_name["KeyValue"],
    [pb.DESCRIPTOR],
    entity_type="key-value",
    init_state=lambda entity_id: pb.ValueState(),
)


def reply(state):
    return pb.Value(value=state.value, found=state.found)


@key_value.command_handler("Set")
def set_value(command: pb.SetRequest, context: ValueEntityCommandContext):
    context.update_state(pb.ValueState(value=command.value, found=True))
    return Empty()


@key_value.command_handler("Get")
def get_value(state: pb.ValueState):
    return reply(state)


@key_value.command_handler("Delete")
def delete(command: pb.KeyRequest, context: ValueEntityCommandContext):
    context.update_state(pb.ValueState())
    return Empty()


@key_value.command_handler("Fail")
def fail(command: pb.KeyFailRequest, context: ValueEntityCommandContext):
    context.fail(command.description)


@key_value.command_handler("SetThenFail")
def set_then_fail(command: pb.SetRequest, context: ValueEntityCommandContext):
    set_value(command, context)
    context.fail("failed after the update")


@key_value.command_handler("Crash")
def crash(command: pb.KeyRequest):
    raise RuntimeError("value crashed")


@key_value.command_handler("SetAndCopy")
def set_and_copy(command: pb.SetRequest, context: ValueEntityCommandContext):
    for suffix, synchronous in (("sync", True), ("async", False)):
        copy = pb.SetRequest(key=f"{command.key}.{suffix}", value=command.value)
        context.effects.append(
            SideEffect(service_name="peers.KeyValue", command_name="Set", payload=pack(copy), synchronous=synchronous)
        )
    return set_value(command, context)


@key_value.command_handler("GetOther")
def get_other(command: pb.KeyPairRequest, context: ValueEntityCommandContext):
    request = pb.KeyRequest(key=command.other)
    context.forward = Forward(service_name="peers.KeyValue", command_name="Get", payload=pack(request))


@key_value.command_handler("Slow")
def slow(state: pb.ValueState, command: pb.KeySlowRequest):
    time.sleep(command.millis / 1000)
    return reply(state)
