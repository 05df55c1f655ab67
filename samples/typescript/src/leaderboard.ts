/** The leaderboard: a replicated entity, which can be watched. */

import { Code, data, Failure, replicatedEntity, type CounterMap } from "firn-sdk";
import { Leaderboard, PlayerSchema } from "./generated/board/leaderboard_pb.js";

export const leaderboard = replicatedEntity(Leaderboard, {
  id: "board_id",
  data: data.counterMap(PlayerSchema),

  handlers: {
    score({ player, points }, context) {
      if (player === "") throw new Failure(Code.InvalidArgument, "the player has no name");
      context.data.increment({ name: player }, points);
    },

    show: (_, context) => standings(context.data),

    async *watch(_, context) {
      for await (const scores of context.changes()) yield standings(scores);
    },
  },
});

/** The most points first, equal ones by name. */
function standings(scores: CounterMap<typeof PlayerSchema>) {
  const places = [...scores].map(([{ name }, points]) => ({ player: name, points }));
  places.sort((a, b) => Number(b.points - a.points) || (a.player < b.player ? -1 : 1));
  return { places };
}
