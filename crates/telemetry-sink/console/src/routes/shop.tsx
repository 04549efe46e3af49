// A small shop on core-api: enough to follow one order from the click to the receipt and its trace.

import { useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { accounts, createAccount, items, orders, placeOrder, prices, thumbnail } from "../api/shop";
import type { Account, Item, Order, Price } from "../api/shop";
import { Badge, Copy, Empty, Failure, Loading, Page, Panel } from "../components/basics";
import { Icon } from "../components/Icon";
import { NewItemForm } from "../components/NewItemForm";
import { ago, dateTime, MISSING, money } from "../format";
import { asApiError, useNow, useResource } from "../hooks";
import { requestPath } from "../lib/routes";

interface Placed {
  readonly order: Order;
  readonly requestId: string | null;
}

export function ShopScreen() {
  const itemList = useResource(items, [], { everyMs: 5000 });
  const priceList = useResource(prices, [], { everyMs: 15_000 });
  const accountList = useResource(accounts, [], { everyMs: 15_000 });
  const orderList = useResource(orders, [], { everyMs: 5000 });
  const [chosen, setChosen] = useState<string | null>(null);
  const [placed, setPlaced] = useState<Placed | null>(null);
  const item = itemList.data?.find(({ id }) => id === chosen) ?? null;
  const reload = (): void => [itemList, priceList, accountList, orderList].forEach((list) => list.reload());
  return (
    <Page title="Shop" lead="Place an order and follow it: invoice, receipt mail, and one trace through the fleet.">
      <div aria-live="polite">{placed && <PlacedNotice placed={placed} />}</div>
      <div class="shop">
        <div class="shop-main">
          <Panel title="Items" note={itemList.data ? `${itemList.data.length} items` : undefined} flush>
            {itemList.error && !itemList.data && <Failure error={itemList.error} retry={itemList.reload} />}
            {!itemList.data && !itemList.error && <Loading what="items" />}
            {itemList.data?.length === 0 && (
              <Empty icon="shop" title="Nothing is for sale yet">
                Add the first item with the form beside this list.
              </Empty>
            )}
            {itemList.data && itemList.data.length > 0 && (
              <ul class="items">
                {itemList.data.map((one) => (
                  <li key={one.id}>
                    <ItemCard
                      item={one}
                      price={priceList.data?.get(one.id)}
                      chosen={one.id === chosen}
                      choose={() => setChosen(one.id)}
                    />
                  </li>
                ))}
              </ul>
            )}
          </Panel>
          <Panel title="Orders" flush>
            {orderList.error && !orderList.data && <Failure error={orderList.error} retry={orderList.reload} />}
            {!orderList.data && !orderList.error && <Loading what="orders" />}
            {orderList.data?.length === 0 && <Empty icon="shop" title="No orders yet" />}
            {orderList.data && orderList.data.length > 0 && (
              <OrderTable orders={orderList.data} accounts={accountList.data ?? []} />
            )}
          </Panel>
        </div>
        <div class="shop-side">
          <OrderForm
            item={item}
            price={item ? priceList.data?.get(item.id) : undefined}
            accounts={accountList.data ?? []}
            onPlaced={(result) => {
              setPlaced(result);
              reload();
            }}
          />
          <NewItemForm onMade={reload} />
        </div>
      </div>
    </Page>
  );
}

function PlacedNotice({ placed }: { placed: Placed }) {
  const { order, requestId } = placed;
  return (
    <div class="notice" data-order={order.id} data-request={requestId ?? ""}>
      <div>
        <p>
          <b>Order placed.</b> <code>{order.id}</code> for {money(order.total, order.currency)}, invoice{" "}
          {order.invoiceNumber}. The receipt arrives in <a href="/mail">Mail</a>.
        </p>
        {requestId && (
          <p>
            Request <code>{requestId}</code> <Copy text={requestId} label="request id" />
          </p>
        )}
      </div>
      {requestId && (
        <a class="button" href={requestPath(requestId)}>
          Follow its trace
        </a>
      )}
    </div>
  );
}

interface ItemCardProps {
  readonly item: Item;
  readonly price: Price | undefined;
  readonly chosen: boolean;
  readonly choose: () => void;
}

function ItemCard({ item, price, chosen, choose }: ItemCardProps) {
  const picture = thumbnail(item);
  return (
    <article class={`item ${chosen ? "chosen" : ""}`}>
      <div class="item-picture">
        {picture ? <img src={picture} alt="" loading="lazy" /> : <Icon name="image" size={28} />}
      </div>
      <div class="item-text">
        <h3>{item.name}</h3>
        <p class="muted">
          {item.sku}, {item.available > 0 ? `${item.available} available` : "sold out"}
        </p>
      </div>
      <div class="item-foot">
        <b>{price ? money(price.amount, price.currency) : "no price"}</b>
        <button
          type="button"
          class="button small"
          aria-pressed={chosen}
          aria-label={`Choose ${item.name}`}
          disabled={!price || item.available <= 0}
          onClick={choose}
        >
          Choose
        </button>
      </div>
    </article>
  );
}

interface OrderFormProps {
  readonly item: Item | null;
  readonly price: Price | undefined;
  readonly accounts: readonly Account[];
  readonly onPlaced: (placed: Placed) => void;
}

const NEW = "new";

function OrderForm({ item, price, accounts: known, onPlaced }: OrderFormProps) {
  const [quantity, setQuantity] = useState(1);
  const [account, setAccount] = useState("");
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const buyer = account || known[0]?.id || NEW;

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!item || !price || busy) return;
    setBusy(true);
    setError(null);
    try {
      const accountId = buyer === NEW ? (await createAccount(email, name)).id : buyer;
      const reply = await placeOrder({ accountId, itemId: item.id, quantity, currency: price.currency });
      setAccount(accountId);
      onPlaced({ order: reply.body, requestId: reply.requestId });
    } catch (cause) {
      setError(asApiError(cause));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Panel title="Order">
      <form class="form" onSubmit={(event) => void submit(event)}>
        <p>{item ? <b>{item.name}</b> : <span class="muted">Choose an item from the list.</span>}</p>
        <label class="field">
          Customer
          <select name="account" value={buyer} onChange={(event) => setAccount(event.currentTarget.value)}>
            {known.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name} ({one.email})
              </option>
            ))}
            <option value={NEW}>A new customer</option>
          </select>
        </label>
        {buyer === NEW && (
          <>
            <label class="field">
              Name
              <input
                type="text"
                name="name"
                required
                maxLength={200}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            </label>
            <label class="field">
              E-mail
              <input
                type="email"
                name="email"
                required
                maxLength={254}
                value={email}
                onInput={(event) => setEmail(event.currentTarget.value)}
              />
            </label>
          </>
        )}
        <label class="field">
          Pieces
          <input
            type="number"
            name="quantity"
            min={1}
            max={Math.max(1, item?.available ?? 1)}
            required
            value={quantity}
            onInput={(event) => setQuantity(event.currentTarget.valueAsNumber || 1)}
          />
        </label>
        {error && <Failure error={error} />}
        <button type="submit" class="button primary" disabled={!item || busy}>
          {busy ? "Placing…" : `Place order${price ? `, ${money(price.amount * quantity, price.currency)}` : ""}`}
        </button>
      </form>
    </Panel>
  );
}

interface OrderTableProps {
  readonly orders: readonly Order[];
  readonly accounts: readonly Account[];
}

function OrderTable({ orders: rows, accounts: people }: OrderTableProps) {
  const now = useNow(5000);
  const person = (id: string): string => people.find((one) => one.id === id)?.name ?? id;
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label="Orders, newest first">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Order</th>
            <th scope="col">Customer</th>
            <th scope="col">Items</th>
            <th scope="col">State</th>
            <th scope="col">Invoice</th>
            <th scope="col" class="num">
              Total
            </th>
            <th scope="col">Placed</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((order) => (
            <tr key={order.id}>
              <th scope="row" class="mono">
                {order.id}
              </th>
              <td>{person(order.accountId)}</td>
              <td>{order.lines.map((line) => `${line.quantity} × ${line.name}`).join(", ") || MISSING}</td>
              <td>
                <Badge tone="good">{order.status}</Badge>
              </td>
              <td class="mono">{order.invoiceNumber}</td>
              <td class="num">{money(order.total, order.currency)}</td>
              <td title={dateTime(order.placedMs)}>{ago(order.placedMs, now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
