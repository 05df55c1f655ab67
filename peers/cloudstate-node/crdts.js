// Likes and Tags: CRDTs.
const { Crdt, ORSet, PNCounter } = require('cloudstate').crdt;

const Likes = new Crdt(['crdts.proto'], 'peers.Likes', { includeDirs: ['./protos'], persistenceId: 'likes' });

const likesReply = (state) => ({ likes: state === null ? 0 : state.value });

function watch(request, context) {
  if (context.streamed) context.onStateChange = (state) => likesReply(state);
  return likesReply(context.state);
}

// Ends when there are so many likes, and notes it.
function watchUntil({ topic, likes }, context) {
  context.onStateChange = (state, { effect, end }) => {
    if (state.longValue.lessThan(likes)) return likesReply(state);
    effect({ path: '/peers.KeyValue/Set' }, { key: `likes-${topic}`, value: 'enough' }, true);
    end();
    return likesReply(state);
  };
  return likesReply(context.state);
}

// One like for as long as the caller stays.
function stay(request, context) {
  context.state.increment(1);
  context.onStateChange = (state) => likesReply(state);
  context.onStreamCancel = (state) => state.decrement(1);
  return likesReply(context.state);
}

function forget(request, context) {
  context.delete();
  return {};
}

Likes.defaultValue = () => new PNCounter();
Likes.commandHandlers = {
  Like: ({ amount }, { state }) => {
    state.increment(amount);
    return likesReply(state);
  },
  GetLikes: (request, { state }) => likesReply(state),
  Watch: watch,
  WatchUntil: watchUntil,
  Stay: stay,
  Forget: forget,
};

const Tags = new Crdt(['crdts.proto'], 'peers.Tags', { includeDirs: ['./protos'], persistenceId: 'tags' });
const Tag = Tags.lookupType('peers.Tag');

const tagsReply = (state) => ({ tags: Array.from(state, ({ tag }) => tag).sort() });

Tags.defaultValue = () => new ORSet();
Tags.commandHandlers = {
  AddTag: ({ tag }, { state }) => tagsReply(state.add(Tag.create({ tag }))),
  RemoveTag: ({ tag }, { state }) => tagsReply(state.delete(Tag.create({ tag }))),
  GetTags: (request, { state }) => tagsReply(state),
};

module.exports = { Likes, Tags };
