"""What ./selfcheck runs."""

import os

import grpc
from cloudstate import entity_pb2, entity_pb2_grpc
from cloudstate import event_sourced_pb2 as es_pb2
from cloudstate import event_sourced_pb2_grpc as es_grpc
from cloudstate.evensourced_servicer import pack

import cart_pb2
import key_value_pb2
import selfcheck


def unpack(any, kind):
    message = kind()
    assert any.Unpack(message), any.type_url
    return message


def discovery(channel):
    stub = entity_pb2_grpc.EntityDiscoveryStub(channel)
    spec = stub.discover(entity_pb2.ProxyInfo(protocol_major_version=0, protocol_minor_version=2))
    served = [(entity.service_name, entity.persistence_id) for entity in spec.entities]
    assert served == [("peers.Cart", "cart"), ("peers.KeyValue", "key-value")], served


def open_stream(channel, service, entity_id):
    stream = selfcheck.Stream(es_grpc.EventSourcedStub(channel).handle)
    init = es_pb2.EventSourcedInit(service_name=service, entity_id=entity_id)
    stream.send(es_pb2.EventSourcedStreamIn(init=init))

    def command(number, name, payload):
        command = entity_pb2.Command(entity_id=entity_id, id=number, name=name, payload=pack(payload))
        return stream.exchange(es_pb2.EventSourcedStreamIn(command=command)).reply

    return stream, command


def cart(channel):
    stream, command = open_stream(channel, "peers.Cart", "c1")
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
    stream = selfcheck.Stream(es_grpc.EventSourcedStub(channel).handle)
    snapshot = es_pb2.EventSourcedSnapshot(snapshot_sequence=5, snapshot=pack(cart_pb2.CartState()))
    init = es_pb2.EventSourcedInit(service_name="peers.Cart", entity_id="c1", snapshot=snapshot)
    try:
        stream.exchange(es_pb2.EventSourcedStreamIn(init=init))
        raise AssertionError("a snapshot was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNKNOWN, error


def key_value(channel):
    stream, command = open_stream(channel, "peers.KeyValue", "k")
    changed = command(1, "Set", key_value_pb2.SetRequest(key="k", value="v"))
    assert unpack(changed.events[0], key_value_pb2.ValueSet).value == "v"
    found = command(2, "Get", key_value_pb2.KeyRequest(key="k"))
    assert unpack(found.client_action.reply.payload, key_value_pb2.Value).value == "v"
    other = command(3, "GetOther", key_value_pb2.KeyPairRequest(key="k", other="o"))
    assert other.client_action.forward.command_name == "Get"
    copied = command(4, "SetAndCopy", key_value_pb2.SetRequest(key="k", value="w"))
    assert [effect.synchronous for effect in copied.side_effects] == [True, False]
    assert stream.end() == []


def check(channel):
    discovery(channel)
    cart(channel)
    breaks_on_snapshot(channel)
    key_value(channel)


selfcheck.run(os.path.dirname(os.path.abspath(__file__)), check)
