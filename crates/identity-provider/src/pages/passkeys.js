// Asks the browser for passkeys (WebAuthn Level 3): the one thing on these pages that a form cannot do alone. Each form
// with data-ceremony says what to ask for; the answer goes into its field "answer" and the form is sent.

const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

const encode = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

const credentials = (text) =>
  text
    .split(" ")
    .filter(Boolean)
    .map((id) => ({ type: "public-key", id: decode(id) }));

async function create({ challenge, host, user, email, person, credentials: known }) {
  const { id, response } = await navigator.credentials.create({
    publicKey: {
      challenge: decode(challenge),
      rp: { id: host, name: host },
      user: { id: decode(user), name: email, displayName: person },
      pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
      excludeCredentials: credentials(known),
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "preferred" },
      attestation: "none",
    },
  });
  return {
    id,
    clientDataJSON: encode(response.clientDataJSON),
    authenticatorData: encode(response.getAuthenticatorData()),
  };
}

async function get({ challenge, host, verification, credentials: allowed }, more) {
  const { id, response } = await navigator.credentials.get({
    publicKey: {
      challenge: decode(challenge),
      rpId: host,
      allowCredentials: credentials(allowed),
      userVerification: verification,
    },
    ...more,
  });
  return {
    id,
    clientDataJSON: encode(response.clientDataJSON),
    authenticatorData: encode(response.authenticatorData),
    signature: encode(response.signature),
    userHandle: response.userHandle ? encode(response.userHandle) : null,
  };
}

function send(form, answer) {
  form.elements.answer.value = JSON.stringify(answer);
  form.submit();
}

/** Offers passkeys among the suggestions of the name's field, for as long as nothing else is done. */
async function suggest(form, signal) {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  try {
    send(form, await get(form.dataset, { mediation: "conditional", signal }));
  } catch {
    // Given up for the button, or nothing was chosen: the page stays as it is.
  }
}

function prepare(form) {
  const suggestion = new AbortController();
  const failure = form.querySelector("[role=alert]");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    suggestion.abort();
    failure.hidden = true;
    try {
      const ask = form.dataset.ceremony === "create" ? create : get;
      send(form, await ask(form.dataset));
    } catch {
      failure.hidden = false;
    }
  });
  if ("conditional" in form.dataset) suggest(form, suggestion.signal);
}

if (globalThis.PublicKeyCredential) document.querySelectorAll("form[data-ceremony]").forEach(prepare);
