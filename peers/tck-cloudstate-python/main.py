"""The conformance kit's model services on the Cloudstate Python support, which has event sourced entities only."""

from cloudstate.cloudstate import CloudState
from cloudstate.entity_pb2 import Forward, SideEffect
from cloudstate.evensourced_servicer import pack
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity

# The SDK sends them with the contract, and loads them nowhere.
import google.api.annotations_pb2
import google.protobuf.empty_pb2
from firn.tck.cloudstate.v1 import model_pb2 as pb
from steps import Replies, Work

replies = Replies(pb, Forward, SideEffect, pack)


def entity(service, persistence_id, snapshot_every=0):
    descriptor = pb.DESCRIPTOR.services_by_name[service]
    return EventSourcedEntity(
        descriptor,
        [pb.DESCRIPTOR],
        init_state=lambda entity_id: pb.State(),
        persistence_id=persistence_id,
        snapshot_every=snapshot_every,
    )


def target(service, persistence_id):
    """Where forwards and effects lead."""
    model = entity(service, persistence_id)

    @model.command_handler("Process")
    def process(command: pb.Request):
        return pb.Reply()

    return model


events = entity("EventSourcedModel", "tck-events", snapshot_every=5)


@events.command_handler("Process")
def process(state: pb.State, command: pb.Request, context: EventSourcedCommandContext):
    def handler():
        work = Work(state.text, state.count).do(command.steps)
        for text in work.appended:
            context.emit(pb.Appended(text=text))
        return replies.reply(work, context)

    return replies.answer(context, handler)


@events.event_handler(pb.Appended)
def appended(state: pb.State, event: pb.Appended):
    return pb.State(text=state.text + event.text, count=state.count + 1)


@events.snapshot()
def snapshot(state: pb.State):
    return state


# Never reached: the SDK breaks the stream of an entity that is initialised with a snapshot.
@events.snapshot_handler()
def load_snapshot(snapshot: pb.State):
    return snapshot


if __name__ == "__main__":
    function = CloudState()
    for model in (target("ValueModel", "tck-value"), target("ValueModelTwo", "tck-two"), events):
        function.register_event_sourced_entity(model)
    function.start()
