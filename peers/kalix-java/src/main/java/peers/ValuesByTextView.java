package peers;

import kalix.javasdk.view.View;
import kalix.javasdk.view.ViewContext;

/** ValuesByText: a view of KeyValue. */
public final class ValuesByTextView extends AbstractValuesByTextView {
  public ValuesByTextView(ViewContext context) {}

  @Override
  public ValueRow emptyState() {
    return ValueRow.getDefaultInstance();
  }

  @Override
  public View.UpdateEffect<ValueRow> updateValue(ValueRow row, ValueState value) {
    String key = updateContext().eventSubject().orElse("");
    return effects()
        .updateState(ValueRow.newBuilder().setKey(key).setValue(value.getValue()).build());
  }
}
