// Ticket: a value entity with a legacy key that deletes itself, and with a passivation option.
const { ValueEntity, replies } = require('@lightbend/akkaserverless-javascript-sdk');

const ticket = new ValueEntity('extras.proto', 'peers.Ticket', 'ticket', {
  includeDirs: ['./protos'],
  entityPassivationStrategy: { timeout: 300 },
});

const TicketState = ticket.lookupType('peers.TicketState');

ticket.setInitial(() => TicketState.create({ usesLeft: 0 }));

function open(request, state, context) {
  context.updateState(TicketState.create({ usesLeft: request.uses }));
  return replies.message({ ticketId: context.entityId, usesLeft: request.uses });
}

function use(request, state, context) {
  if (state.usesLeft === 0) return replies.failure('no such ticket');
  const usesLeft = state.usesLeft - 1;
  if (usesLeft > 0) context.updateState(TicketState.create({ usesLeft }));
  else context.deleteState();
  return replies.message({ ticketId: request.ticketId, usesLeft });
}

ticket.setCommandHandlers({ Open: open, Use: use });

module.exports = ticket;
