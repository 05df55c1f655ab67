"""Tools: an action in every shape of call."""

import time
from typing import Iterator

from akkaserverless.action_context import ActionContext
from akkaserverless.action_protocol_entity import Action
from akkaserverless.akkaserverless.component.component_pb2 import Forward, SideEffect
from akkaserverless.utils.payload_utils import pack
from google.protobuf.empty_pb2 import Empty

import cart_pb2
import key_value_pb2
import tools_pb2 as pb

tools = Action(
    pb.DESCRIPTOR.services_by_name["Tools"],
    [cart_pb2.DESCRIPTOR, key_value_pb2.DESCRIPTOR, pb.DESCRIPTOR],
)


def set_effect(key, value, synchronous):
    request = key_value_pb2.SetRequest(key=key, value=value)
    return SideEffect(service_name="peers.KeyValue", command_name="Set", payload=pack(request), synchronous=synchronous)


@tools.unary_handler("Add")
def add(command: pb.Pair):
    return pb.Number(value=command.left + command.right)


@tools.stream_in_handler("Sum")
def sum_numbers(numbers: Iterator):
    return pb.Number(value=sum(number.value for number in numbers))


@tools.stream_out_handler("Count")
def count(command: pb.Number):
    for value in range(1, command.value + 1):
        yield pb.Number(value=value)


@tools.stream_handler("Echo")
def echo(texts: Iterator):
    for text in texts:
        yield pb.Text(text=text.text)


@tools.stream_out_handler("CountThenFail")
def count_then_fail(command: pb.Number, context: ActionContext):
    for value in range(1, command.value + 1):
        yield pb.Number(value=value)
    context.fail("failed after counting")
    yield pb.Number()


@tools.unary_handler("AddItemVia")
def add_item_via(command: pb.ForwardAddItem, context: ActionContext):
    request = cart_pb2.AddItemRequest(
        cart_id=command.cart_id, product_id=command.product_id, name=command.name, quantity=command.quantity
    )
    context.forward = Forward(service_name="peers.Cart", command_name="AddItem", payload=pack(request))


@tools.unary_handler("GetVia")
def get_via(command: pb.ForwardGet, context: ActionContext):
    request = key_value_pb2.KeyRequest(key=command.key)
    context.forward = Forward(service_name="peers.KeyValue", command_name="Get", payload=pack(request))


@tools.unary_handler("Remember")
def remember(command: pb.RememberRequest, context: ActionContext):
    context.effects.append(set_effect(command.key, command.value, command.synchronous))
    return pb.Text(text=f"remembered {command.key}")


@tools.unary_handler("RememberTwice")
def remember_twice(command: pb.RememberRequest, context: ActionContext):
    context.effects.append(set_effect(f"{command.key}.sync", command.value, True))
    context.effects.append(set_effect(f"{command.key}.async", command.value, False))
    return pb.Text(text=f"remembered {command.key}")


@tools.unary_handler("Fail")
def fail(command: pb.FailRequest, context: ActionContext):
    context.fail(command.description)


@tools.unary_handler("Crash")
def crash(command: Empty):
    raise RuntimeError("tools crashed")


@tools.unary_handler("Slow")
def slow(command: pb.SlowRequest):
    time.sleep(command.millis / 1000)
    return pb.Text(text=f"slept {command.millis} ms")
