// ValuesByText: a view of KeyValue.
const { View } = require('@kalix-io/kalix-javascript-sdk');

const view = new View('extras.proto', 'peers.ValuesByText', {
  includeDirs: ['./protos'],
  viewId: 'values-by-text',
});

view.setUpdateHandlers({
  UpdateValue: ({ value }, row, context) => ({ key: context.eventSubject, value }),
});

module.exports = view;
