"""What ./selfcheck runs."""

import os

from akkaserverless.akkaserverless.component.action import action_pb2, action_pb2_grpc
from akkaserverless.akkaserverless.component.entity.entity_pb2 import Command
from akkaserverless.akkaserverless.component.eventsourcedentity import event_sourced_entity_pb2 as es_pb2
from akkaserverless.akkaserverless.component.eventsourcedentity import event_sourced_entity_pb2_grpc as es_grpc
from akkaserverless.akkaserverless.component.valueentity import value_entity_pb2, value_entity_pb2_grpc
from akkaserverless.akkaserverless.protocol import discovery_pb2, discovery_pb2_grpc
from akkaserverless.utils.payload_utils import pack

import selfcheck
from firn.tck.akkaserverless.v1 import model_pb2 as pb

PACKAGE = pb.DESCRIPTOR.package


def unpack(any, kind):
    message = kind()
    assert any.Unpack(message), any.type_url
    return message


def discovery(channel):
    stub = discovery_pb2_grpc.DiscoveryStub(channel)
    spec = stub.Discover(discovery_pb2.ProxyInfo(protocol_major_version=0, protocol_minor_version=7))
    served = [component.service_name for component in spec.components]
    names = ["EventSourcedModel", "ValueModel", "ValueModelTwo", "ActionModel"]
    assert served == [f"{PACKAGE}.{name}" for name in names], served


def process(method, init, stream_in, step):
    """The reply to one command on a new stream."""
    stream = selfcheck.Stream(method)
    stream.send(stream_in(init=init))
    payload = pack(pb.Request(id="e", steps=[step]))
    command = Command(entity_id="e", id=1, name="Process", payload=payload)
    reply = stream.exchange(stream_in(command=command)).reply
    assert stream.end() == []
    return reply


def event_sourced(channel):
    method = es_grpc.EventSourcedEntitiesStub(channel).Handle
    init = es_pb2.EventSourcedInit(service_name=f"{PACKAGE}.EventSourcedModel", entity_id="e")
    reply = process(method, init, es_pb2.EventSourcedStreamIn, pb.Step(append="a"))
    assert unpack(reply.events[0], pb.Appended).text == "a"
    assert unpack(reply.client_action.reply.payload, pb.Reply).text == "a"


def value(channel):
    method = value_entity_pb2_grpc.ValueEntitiesStub(channel).Handle
    init = value_entity_pb2.ValueEntityInit(service_name=f"{PACKAGE}.ValueModel", entity_id="e")
    reply = process(method, init, value_entity_pb2.ValueEntityStreamIn, pb.Step(set="a"))
    assert unpack(reply.state_action.update.value, pb.State).text == "a"
    assert unpack(reply.client_action.reply.payload, pb.Reply).count == 1


def action(channel):
    stub = action_pb2_grpc.ActionsStub(channel)
    payload = pack(pb.Request(steps=[pb.Step(set="a")]))
    command = action_pb2.ActionCommand(service_name=f"{PACKAGE}.ActionModel", name="Unary", payload=payload)
    assert unpack(stub.HandleUnary(command).reply.payload, pb.Reply).text == "a"


def check(channel):
    discovery(channel)
    event_sourced(channel)
    value(channel)
    action(channel)


if __name__ == "__main__":
    selfcheck.run(os.path.dirname(os.path.abspath(__file__)), check)
