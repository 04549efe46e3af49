// A question before something that cannot simply be undone: what will happen, and the two ways out of it.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { asApiError } from "../hooks";
import { Failure } from "./basics";

export interface Question {
  readonly title: string;
  /** What will happen. */
  readonly text: ComponentChildren;
  readonly action: string;
  /** What cannot simply be undone: then Enter alone does not do it. */
  readonly danger?: boolean;
  /** Runs while the dialog is open; what it rejects with is shown there. */
  readonly run: () => Promise<void>;
}

/** Modal: the browser keeps the focus inside, closes it on Escape, and gives the focus back. */
export function Confirm({ question, close }: { question: Question; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await question.run();
      close();
    } catch (cause) {
      setError(asApiError(cause));
      setBusy(false);
    }
  };
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby="question"
      aria-describedby="consequence"
      onCancel={(event) => {
        event.preventDefault();
        if (!busy) close();
      }}
    >
      <form onSubmit={(event) => void submit(event)}>
        <h2 id="question">{question.title}</h2>
        <div id="consequence" class="dialog-text">
          {question.text}
        </div>
        {error && <Failure error={error} />}
        <div class="dialog-foot">
          <button type="button" class="button" disabled={busy} autoFocus={question.danger === true} onClick={close}>
            Keep as it is
          </button>
          <button
            type="submit"
            class={`button ${question.danger ? "danger" : "primary"}`}
            disabled={busy}
            autoFocus={question.danger !== true}
          >
            {busy ? "Working…" : question.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** The open question, if there is one, and how to ask. */
export function useConfirm(): [ComponentChildren, (question: Question) => void] {
  const [question, ask] = useState<Question | null>(null);
  return [question && <Confirm question={question} close={() => ask(null)} />, ask];
}
