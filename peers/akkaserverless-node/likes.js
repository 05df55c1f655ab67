// Likes: a replicated counter, whose changes a majority has before they are answered.
const {
  ReplicatedData,
  ReplicatedEntity,
  ReplicatedWriteConsistency,
} = require('@lightbend/akkaserverless-javascript-sdk');

const likes = new ReplicatedEntity('extras.proto', 'peers.Likes', 'likes', {
  includeDirs: ['./protos'],
  entityPassivationStrategy: { timeout: 300 },
  replicatedWriteConsistency: ReplicatedWriteConsistency.MAJORITY,
});

likes.defaultValue = () => new ReplicatedData.ReplicatedCounter();

likes.commandHandlers = {
  Like: ({ amount }, context) => {
    context.state.increment(amount);
    return { likes: context.state.longValue };
  },
  GetLikes: (request, context) => ({ likes: context.state.longValue }),
  Forget: (request, context) => {
    context.delete();
    return {};
  },
};

module.exports = likes;
