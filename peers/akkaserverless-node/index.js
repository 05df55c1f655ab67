// The function: the domain that all peers share, and what only Akka Serverless has.
const { AkkaServerless } = require('@lightbend/akkaserverless-javascript-sdk');

new AkkaServerless({ serviceName: 'peer-akkaserverless-node' })
  .addComponent(
    require('./cart'),
    require('./key_value'),
    require('./tools'),
    require('./ticket'),
    require('./likes'),
    ...require('./replicated'),
    require('./values_by_text'),
  )
  .start();
