"""RIM, the reflection job: it reads slices of the diary and proposes edits of the policy that wrote them."""
