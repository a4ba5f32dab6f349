// Preload (node --import ./redirect.mjs app.mjs): sends what is meant for Dodo's two hosts to
// METERING_BASE_URL. Neither the package nor the application changes. The blueprint refuses to
// start beside DODO_PAYMENTS_BASE_URL, so that is dropped here.
const hosts = new Set(["test.dodopayments.com", "live.dodopayments.com"]);
const base = new URL(process.env.METERING_BASE_URL);
const send = globalThis.fetch;

delete process.env.DODO_PAYMENTS_BASE_URL;

globalThis.fetch = (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input);
  if (!hosts.has(url.host)) return send(input, init);
  url.protocol = base.protocol;
  url.host = base.host;
  return send(input instanceof Request ? new Request(url, input) : url, init);
};
