"""What ./selfcheck runs."""

import os

from cloudstate import entity_pb2, entity_pb2_grpc
from cloudstate import event_sourced_pb2 as es_pb2
from cloudstate import event_sourced_pb2_grpc as es_grpc
from cloudstate.evensourced_servicer import pack

import selfcheck
from firn.tck.cloudstate.v1 import model_pb2 as pb

PACKAGE = pb.DESCRIPTOR.package


def unpack(any, kind):
    message = kind()
    assert any.Unpack(message), any.type_url
    return message


def discovery(channel):
    spec = entity_pb2_grpc.EntityDiscoveryStub(channel).discover(entity_pb2.ProxyInfo())
    served = [f"{entity.service_name} {entity.persistence_id}" for entity in spec.entities]
    names = ["ValueModel tck-value", "ValueModelTwo tck-two", "EventSourcedModel tck-events"]
    assert served == [f"{PACKAGE}.{name}" for name in names], served


def event_sourced(channel):
    stream = selfcheck.Stream(es_grpc.EventSourcedStub(channel).handle)
    init = es_pb2.EventSourcedInit(service_name=f"{PACKAGE}.EventSourcedModel", entity_id="e")
    stream.send(es_pb2.EventSourcedStreamIn(init=init))
    payload = pack(pb.Request(id="e", steps=[pb.Step(append="a")]))
    command = entity_pb2.Command(entity_id="e", id=1, name="Process", payload=payload)
    reply = stream.exchange(es_pb2.EventSourcedStreamIn(command=command)).reply
    assert unpack(reply.events[0], pb.Appended).text == "a"
    assert unpack(reply.client_action.reply.payload, pb.Reply).text == "a"
    assert stream.end() == []


def check(channel):
    discovery(channel)
    event_sourced(channel)


if __name__ == "__main__":
    selfcheck.run(os.path.dirname(os.path.abspath(__file__)), check)
