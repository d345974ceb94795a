// Opens the page in Chromium, gives it files as a reader would, and prints what it says as JSON.
// node browse.mjs '{"chromium": PATH, "url": URL, "sets": [[FILE, ...], ...], "plain": FILE, "screenshots": FOLDER}'
// plain: a table that says neither rate nor leads, which are written on the page.

import { chromium } from "playwright-core";

const { chromium: executablePath, url, sets, plain, screenshots } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 390, height: 800 } });
const requests = [];
const complaints = [];
page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
await page.goto(url);
await page.getByText("Ready.").waitFor();
const loaded = requests.length;

// By keyboard alone: the first thing that Tab reaches is the choice of files, and each of the page's fields has a name.
await page.keyboard.press("Tab");
const first = await page.evaluate(() => document.activeElement.id);

const facts = await page.locator("#facts").innerText();
const answers = [];
for (const [number, files] of sets.entries()) {
  await page.setInputFiles("#files", files);
  await page
    .locator("#status")
    .getByText(/answered\.$/)
    .waitFor();
  answers.push(
    ...(await page.locator("article").evaluateAll((articles) =>
      articles.map((article) => ({
        name: article.querySelector("h2").textContent,
        error: article.querySelector("[role=alert]")?.textContent ?? null,
        decision: article.querySelector(".decision")?.textContent ?? null,
        notes: [...article.querySelectorAll("li")].map((item) => item.textContent),
        probabilities: Object.fromEntries(
          [...article.querySelectorAll("tr[data-class]")].map((row) => [
            row.dataset.class,
            Number(row.dataset.probability),
          ]),
        ),
        decisions: [...article.querySelectorAll("tr.yes")].map((row) => row.dataset.class),
        traces: article.querySelectorAll("path.trace").length,
      })),
    )),
  );
  const ask = page.getByRole("button", { name: "Show what the network looked at" });
  if (await ask.count()) {
    await ask.first().click();
    const told = page.locator("p[data-covered]");
    await told.waitFor({ timeout: 60000 });
    answers.at(-1).looked = await told.evaluate((line) => ({
      covered: JSON.parse(line.dataset.covered),
      silent: JSON.parse(line.dataset.silent),
      words: line.textContent,
      shades: document.querySelectorAll("rect.shade").length,
    }));
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  answers.at(-1).overflow = wide > 390;
  await page.screenshot({ path: `${screenshots}/phone-${number}.png`, fullPage: true });
}

// Dropped, as with a mouse; what a file is called is no markup.
const transfer = await page.evaluateHandle((name) => {
  const files = new DataTransfer();
  files.items.add(new File(["time,I\n", ...Array.from({ length: 900 }, (_, i) => `${i / 300},${i % 9}\n`)], name));
  return files;
}, "<img src=x>.csv");
await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
await page
  .locator("#status")
  .getByText(/answered\.$/)
  .waitFor();
const dropped = await page
  .locator("article")
  .evaluateAll((articles) =>
    articles.map((article) => [
      article.querySelector("h2").textContent,
      article.querySelectorAll("tr[data-class]").length,
    ]),
  );

await page.getByText("If the file does not say it").click();
await page.getByLabel("Sampling rate in Hz").fill("500");
await page.getByLabel("Leads, as I,II,V2").fill("I");
await page.getByLabel("Age in years").fill("61");
await page.getByLabel("Sex").selectOption("female");
await page.setInputFiles("#files", plain);
await page
  .locator("#status")
  .getByText(/answered\.$/)
  .waitFor();
const given = await page
  .locator("tr[data-class]")
  .evaluateAll((rows) => Object.fromEntries(rows.map((row) => [row.dataset.class, Number(row.dataset.probability)])));

await page.setViewportSize({ width: 1100, height: 800 });
await page.screenshot({ path: `${screenshots}/desk.png`, fullPage: true });

const nameless = await page.evaluate(() =>
  [...document.querySelectorAll("input, select")].filter((field) => !field.labels.length).map((field) => field.id),
);
// A page that tried to send something elsewhere would be stopped by its own policy.
const sent = await page.evaluate(() =>
  fetch("http://127.0.0.1:9/").then(
    () => "sent",
    () => "refused",
  ),
);
const refused = complaints.filter((text) => text.includes("Content Security Policy")).length > 0;
await browser.close();
const own = complaints.filter((text) => !text.includes("127.0.0.1:9"));
const later = requests.slice(loaded).filter((request) => !request.includes("127.0.0.1:9/"));
console.log(
  JSON.stringify({ facts, answers, dropped, given, requests, later, complaints: own, first, nameless, sent, refused }),
);
