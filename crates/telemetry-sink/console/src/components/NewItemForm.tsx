// Puts an item on sale: stock, price and a picture whose thumbnails a job makes.

import { useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { createItem } from "../api/shop";
import { asApiError } from "../hooks";
import { Failure, Panel, RequestLink } from "./basics";

export function NewItemForm({ onMade }: { onMade: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [madeBy, setMadeBy] = useState<string | null>(null);

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget;
    if (!(form instanceof HTMLFormElement) || busy) return;
    const values = new FormData(form);
    const word = (key: string): string => String(values.get(key) ?? "").trim();
    const picture = values.get("picture");
    setBusy(true);
    setError(null);
    try {
      const reply = await createItem({
        sku: word("sku"),
        name: word("name"),
        stock: Number(word("stock")),
        amount: Math.round(Number(word("price")) * 100),
        currency: "EUR",
        picture: picture instanceof File && picture.size > 0 ? picture : null,
      });
      setMadeBy(reply.requestId);
      form.reset();
      onMade();
    } catch (cause) {
      setError(asApiError(cause));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Panel title="Add an item">
      <form class="form" onSubmit={(event) => void submit(event)}>
        <label class="field">
          Name
          <input type="text" name="name" required maxLength={200} />
        </label>
        <div class="row">
          <label class="field">
            SKU
            <input
              type="text"
              name="sku"
              required
              maxLength={64}
              pattern="[A-Za-z0-9._\/\-]+"
              title="Letters, digits and . _ / -"
            />
          </label>
          <label class="field">
            Pieces in stock
            <input type="number" name="stock" required min={1} max={1_000_000_000} defaultValue="10" />
          </label>
        </div>
        <label class="field">
          Price in EUR
          <input type="number" name="price" required min={0} step="0.01" defaultValue="12.50" />
        </label>
        <label class="field">
          Picture (JPEG, PNG or WebP)
          <input type="file" name="picture" accept="image/jpeg,image/png,image/webp" />
        </label>
        {error && <Failure error={error} />}
        <div aria-live="polite">
          {madeBy && (
            <p>
              Added. Request <RequestLink id={madeBy} />
            </p>
          )}
        </div>
        <button type="submit" class="button" disabled={busy}>
          {busy ? "Adding…" : "Add item"}
        </button>
      </form>
    </Panel>
  );
}
