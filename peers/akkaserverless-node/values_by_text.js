// ValuesByText: a view of KeyValue.
const { View } = require('@lightbend/akkaserverless-javascript-sdk');

const view = new View('extras.proto', 'peers.ValuesByText', {
  includeDirs: ['./protos'],
  viewId: 'values-by-text',
});

view.setUpdateHandlers({
  // `context.eventSubject` is always undefined in this SDK.
  UpdateValue: ({ value }, row, { metadata }) => ({ key: metadata.get('ce-subject')[0], value }),
});

module.exports = view;
