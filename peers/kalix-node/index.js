// The function: the domain that all peers share, and what only Kalix has.
const { Kalix } = require('@kalix-io/kalix-javascript-sdk');

new Kalix({ serviceName: 'peer-kalix-node' })
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
