// What the reader of the page can mend: its message names the remedy.
export class UserError extends Error {}
