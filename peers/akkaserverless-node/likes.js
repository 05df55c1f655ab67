// Likes: a replicated counter.
const { ReplicatedData, ReplicatedEntity } = require('@lightbend/akkaserverless-javascript-sdk');

const likes = new ReplicatedEntity('extras.proto', 'peers.Likes', 'likes', {
  includeDirs: ['./protos'],
  entityPassivationStrategy: { timeout: 300 },
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
