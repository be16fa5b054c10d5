// Makes a query of what a reader types or pastes, for Material's search worker beside this file. That
// worker also finds what only begins like a word ("in" finds "input"), and takes signs for operators.
const SMALL = new Set(
  ("a an and any are as at be been but by can cannot could did do does for from had has have how i if in into " +
   "is it its may me most my no not of on only or other our own put should so some than that the their them " +
   "then there these they this to too us was we were what when where which while who why will with would you your")
    .split(" "));
// Of a traceback, its last line: `package.SomeError: text`, to the end.
const ERROR = /^.*(?=(?<![\w.])[\w.]*\w(?:Error|Exception|Warning): )/s;
const query = (text) => {
  const words = text.replace(ERROR, "").slice(0, 400).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const large = words.filter((word) => !SMALL.has(word.toLowerCase()));
  // With ^1 a short word is looked for as it is. A few words are no error's text.
  const term = (word) => (/^\w{1,3}$/.test(word) ? `${word}^1` : word);
  const fields = large.length > 4 || /Error|Exception/.test(text) ? [""] : ["title:", "text:"];
  return (large.length ? large : words).flatMap((word) => fields.map((field) => field + term(word))).join(" ");
};
addEventListener("message", ({ data: message }) => {
  const QUERY = 2;
  if (message.type === QUERY) message.data = query(message.data);
});
importScripts(location.search.slice(1));
