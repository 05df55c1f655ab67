/** What this SDK calls itself. A test compares it with package.json. */
export const VERSION = "0.1.0";

/** As `Info.sdk` has it. */
export const SDK = `firn-typescript ${VERSION}`;
