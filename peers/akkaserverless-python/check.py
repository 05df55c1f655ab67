"""What ./selfcheck runs."""

import os

import grpc
from akkaserverless.akkaserverless.component.action import action_pb2, action_pb2_grpc
from akkaserverless.akkaserverless.component.entity.entity_pb2 import Command
from akkaserverless.akkaserverless.component.eventsourcedentity import event_sourced_entity_pb2 as es_pb2
from akkaserverless.akkaserverless.component.eventsourcedentity import event_sourced_entity_pb2_grpc as es_grpc
from akkaserverless.akkaserverless.component.valueentity import value_entity_pb2, value_entity_pb2_grpc
from akkaserverless.akkaserverless.protocol import discovery_pb2, discovery_pb2_grpc
from akkaserverless.utils.payload_utils import pack

import cart_pb2
import key_value_pb2
import selfcheck
import tools_pb2


def unpack(any, kind):
    message = kind()
    assert any.Unpack(message), any.type_url
    return message


def discovery(channel):
    stub = discovery_pb2_grpc.DiscoveryStub(channel)
    spec = stub.Discover(discovery_pb2.ProxyInfo(protocol_major_version=0, protocol_minor_version=7))
    services = [component.service_name for component in spec.components]
    assert services == ["peers.Cart", "peers.KeyValue", "peers.ValuesByText", "peers.Tools"], services


def event_sourced(channel):
    stream = selfcheck.Stream(es_grpc.EventSourcedEntitiesStub(channel).Handle)

    def command(number, name, payload):
        command = Command(entity_id="c1", id=number, name=name, payload=pack(payload))
        return stream.exchange(es_pb2.EventSourcedStreamIn(command=command)).reply

    init = es_pb2.EventSourcedInit(service_name="peers.Cart", entity_id="c1")
    stream.send(es_pb2.EventSourcedStreamIn(init=init))
    item = {"cart_id": "c1", "product_id": "p", "name": "pen", "quantity": 2}
    added = command(1, "AddItem", cart_pb2.AddItemRequest(**item))
    assert unpack(added.events[0], cart_pb2.ItemAdded).item.quantity == 2
    refused = command(2, "AddItem", cart_pb2.AddItemRequest(**dict(item, quantity=0)))
    assert refused.client_action.failure.description == "['quantity must be positive']"
    items = [cart_pb2.Item(product_id="p", quantity=2)] * 5
    batch = command(3, "AddItems", cart_pb2.AddItemsRequest(cart_id="c1", items=items))
    assert len(batch.events) == 5
    # Six events, but the SDK has counted five: see the README on snapshots.
    assert unpack(batch.snapshot, cart_pb2.CartState).items[0].quantity == 12
    assert stream.end() == []


def breaks_on_snapshot(channel):
    stream = selfcheck.Stream(es_grpc.EventSourcedEntitiesStub(channel).Handle)
    snapshot = es_pb2.EventSourcedSnapshot(snapshot_sequence=5, snapshot=pack(cart_pb2.CartState()))
    init = es_pb2.EventSourcedInit(service_name="peers.Cart", entity_id="c1", snapshot=snapshot)
    try:
        stream.exchange(es_pb2.EventSourcedStreamIn(init=init))
        raise AssertionError("a snapshot was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNKNOWN, error


def value(channel):
    stream = selfcheck.Stream(value_entity_pb2_grpc.ValueEntitiesStub(channel).Handle)

    def command(number, name, payload):
        command = Command(entity_id="k", id=number, name=name, payload=pack(payload))
        return stream.exchange(value_entity_pb2.ValueEntityStreamIn(command=command)).reply

    init = value_entity_pb2.ValueEntityInit(
        service_name="peers.KeyValue", entity_id="k", state=value_entity_pb2.ValueEntityInitState()
    )
    stream.send(value_entity_pb2.ValueEntityStreamIn(init=init))
    changed = command(1, "Set", key_value_pb2.SetRequest(key="k", value="v"))
    assert unpack(changed.state_action.update.value, key_value_pb2.ValueState).value == "v"
    found = command(2, "Get", key_value_pb2.KeyRequest(key="k"))
    assert unpack(found.client_action.reply.payload, key_value_pb2.Value).value == "v"
    other = command(3, "GetOther", key_value_pb2.KeyPairRequest(key="k", other="o"))
    assert other.client_action.forward.command_name == "Get"
    copied = command(4, "SetAndCopy", key_value_pb2.SetRequest(key="k", value="w"))
    assert [effect.synchronous for effect in copied.side_effects] == [True, False]
    assert stream.end() == []


def action(channel):
    stub = action_pb2_grpc.ActionsStub(channel)
    payload = pack(tools_pb2.Pair(left=20, right=22))
    added = stub.HandleUnary(action_pb2.ActionCommand(service_name="peers.Tools", name="Add", payload=payload))
    assert unpack(added.reply.payload, tools_pb2.Number).value == 42
    stream = selfcheck.Stream(stub.HandleStreamed)
    stream.send(action_pb2.ActionCommand(service_name="peers.Tools", name="Echo"))
    echoed = stream.exchange(action_pb2.ActionCommand(payload=pack(tools_pb2.Text(text="hello"))))
    assert unpack(echoed.reply.payload, tools_pb2.Text).text == "hello"
    assert stream.end() == []


def check(channel):
    discovery(channel)
    event_sourced(channel)
    breaks_on_snapshot(channel)
    value(channel)
    action(channel)


selfcheck.run(os.path.dirname(os.path.abspath(__file__)), check)
