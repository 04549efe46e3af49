// The state of jobs that belong together, and the button that cancels those that have not ended.

import type { ComponentChildren } from "preact";
import { WRITE_SCOPE } from "../api/jobs";
import { groupTone } from "../lib/job-state";
import { ActionButton } from "./ActionButton";
import { Badge } from "./basics";
import { useConfirm } from "./Confirm";
import { Icon } from "./Icon";

interface GroupProps {
  /** What people call it: a batch, a workflow. */
  readonly name: string;
  readonly state: string;
  /** How many of its jobs have not ended. */
  readonly open: number;
  readonly allowed: boolean | undefined;
  readonly cancel: () => Promise<void>;
  /** What becomes of its jobs. */
  readonly children: ComponentChildren;
}

export function CancelGroup({ name, state, open, allowed, cancel, children }: GroupProps) {
  const [dialog, ask] = useConfirm();
  const confirm = (): void =>
    ask({
      title: `Cancel this ${name}?`,
      text: (
        <p>
          {open} of its jobs have not ended. {children}
        </p>
      ),
      action: `Cancel the ${name}`,
      danger: true,
      run: cancel,
    });
  return (
    <>
      <Badge tone={groupTone(state)}>{state}</Badge>
      {open > 0 && (
        <ActionButton allowed={allowed} scope={WRITE_SCOPE} class="danger-quiet" onClick={confirm}>
          <Icon name="close" size={14} /> Cancel
        </ActionButton>
      )}
      {dialog}
    </>
  );
}
