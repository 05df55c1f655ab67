// Likes: a replicated counter, whose changes a majority has before they are answered.
const { ReplicatedWriteConsistency, replicatedentity } = require('@kalix-io/kalix-javascript-sdk');

const { ReplicatedCounter, ReplicatedEntity } = replicatedentity;

const likes = new ReplicatedEntity('extras.proto', 'peers.Likes', 'likes', {
  includeDirs: ['./protos'],
  entityPassivationStrategy: { timeout: 300 },
  replicatedWriteConsistency: ReplicatedWriteConsistency.MAJORITY,
});

likes.defaultValue = () => new ReplicatedCounter();

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
